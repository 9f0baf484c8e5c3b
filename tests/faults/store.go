// The stock and the depot, by ROLE. The stock reads levels from PostgreSQL, and asks the depot for the place of what is reserved.
// What a fault changes stands in the file that CONTROL names, which is read again when it changes.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/lib/pq"
)

// Settings of one service; times in milliseconds.
type settings struct {
	// By how much every response is delayed.
	DelayMs int `json:"delay_ms"`
	// How long a request for a level works.
	LevelMs int `json:"level_ms"`
	// Share of the requests that fail with 500.
	ErrorShare float64 `json:"error_share"`
	// Attempts for each call to the depot, and the time of each.
	Attempts  int `json:"attempts"`
	TimeoutMs int `json:"timeout_ms"`
	// Connections to PostgreSQL.
	Pool int `json:"pool"`
	// Two workers serve the requests for levels, and the others wait.
	FewWorkers bool `json:"few_workers"`
	// How long the lock of the levels is held in each half second.
	LockMs int `json:"lock_ms"`
}

var (
	now    atomic.Pointer[settings]
	levels sync.Mutex
)

const lockEvery = 500 * time.Millisecond

func ms(number int) time.Duration { return time.Duration(number) * time.Millisecond }

func follow(path string, changed func(*settings)) {
	var seen []byte
	for {
		text, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(text, seen) {
			next := *now.Load()
			if err := json.Unmarshal(text, &next); err != nil {
				log.Fatalf("%s: %v", path, err)
			}
			seen = text
			now.Store(&next)
			changed(&next)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// holdLock is what a background job does that takes the lock for too long.
func holdLock() {
	for {
		held := ms(now.Load().LockMs)
		if held > 0 {
			levels.Lock()
			time.Sleep(held)
			levels.Unlock()
		}
		time.Sleep(lockEvery - held)
	}
}

func fails() bool {
	return rand.Float64() < now.Load().ErrorShare
}

// numbered serves requests of the form /word/7.
func numbered(serve func(w http.ResponseWriter, r *http.Request, number int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		number, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		if err != nil {
			http.NotFound(w, r)
			return
		}
		if fails() {
			http.Error(w, "failed", http.StatusInternalServerError)
			return
		}
		time.Sleep(ms(now.Load().DelayMs))
		serve(w, r, number)
	}
}

type stock struct {
	database *sql.DB
	depot    string
	client   *http.Client
	working  chan struct{}
}

// transaction runs a query, and keeps its connection until the work is done.
func (s *stock) transaction(query string, argument any, work func() error) error {
	transaction, err := s.database.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer transaction.Rollback()
	var amount int
	if err := transaction.QueryRow(query, argument).Scan(&amount); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	return transaction.Commit()
}

func (s *stock) level(w http.ResponseWriter, _ *http.Request, number int) {
	if now.Load().FewWorkers {
		// A client that has gone is served all the same.
		s.working <- struct{}{}
		defer func() { <-s.working }()
	}
	levels.Lock()
	levels.Unlock()
	err := s.transaction("SELECT amount FROM levels WHERE sku = $1", fmt.Sprintf("sku-%d", number), func() error {
		time.Sleep(ms(now.Load().LevelMs))
		return nil
	})
	reply(w, err)
}

func (s *stock) reserve(w http.ResponseWriter, _ *http.Request, number int) {
	err := s.transaction("SELECT price FROM items WHERE id = $1", number, func() error {
		var err error
		for attempt := 0; attempt < now.Load().Attempts; attempt++ {
			if err = s.ask(fmt.Sprintf("%s/bin/%d", s.depot, number)); err == nil {
				break
			}
		}
		return err
	})
	reply(w, err)
}

func (s *stock) ask(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), ms(now.Load().TimeoutMs))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the depot answers %d", answer.StatusCode)
	}
	return nil
}

func reply(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, `{"ok":true}`)
}

func bin(w http.ResponseWriter, _ *http.Request, number int) {
	time.Sleep(ms(8))
	fmt.Fprintf(w, "{\"bin\":%d}\n", number%97)
}

func main() {
	now.Store(&settings{LevelMs: 40, Attempts: 1, TimeoutMs: 10000, Pool: 16})
	changed := func(*settings) {}
	mux := http.NewServeMux()
	if os.Getenv("ROLE") == "depot" {
		mux.HandleFunc("/bin/", numbered(bin))
	} else {
		database, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
		if err != nil {
			log.Fatal(err)
		}
		changed = func(next *settings) {
			database.SetMaxOpenConns(next.Pool)
			database.SetMaxIdleConns(next.Pool)
		}
		changed(now.Load())
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		s := &stock{database: database, depot: os.Getenv("DEPOT_URL"), client: client, working: make(chan struct{}, 2)}
		mux.HandleFunc("/level/", numbered(s.level))
		mux.HandleFunc("/reserve/", numbered(s.reserve))
		go holdLock()
	}
	go follow(os.Getenv("CONTROL"), changed)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux))
}
