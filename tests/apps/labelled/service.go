// As service.py, with goroutines: service WAY.
package main

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"path"
	"runtime/debug"
	"sync"
	"time"
)

func call(number string, k int) {
	callBy(http.DefaultClient, number, k)
}

func callBy(client *http.Client, number string, k int) {
	answer, err := client.Get(fmt.Sprintf("http://%s/c/%s/%d", os.Getenv("BACKEND"), number, k))
	if err != nil {
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}

// As call, in the context of a request.
func callIn(ctx context.Context, number string, k int) {
	url := fmt.Sprintf("http://%s/c/%s/%d", os.Getenv("BACKEND"), number, k)
	request, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}

func sequence(number string) {
	call(number, 0)
	call(number, 1)
}

func fanOut(number string) {
	var group sync.WaitGroup
	for k := 0; k < 8; k++ {
		group.Add(1)
		go func(k int) {
			defer group.Done()
			call(number, k)
		}(k)
	}
	group.Wait()
}

// Three connections for all calls: the others wait in the transport.
var limited = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 3, MaxIdleConnsPerHost: 3}}

func limits(number string) {
	for k := 0; k < 2; k++ {
		callBy(limited, number, k)
	}
}

var places = make(chan struct{}, 3)

func semaphore(number string) {
	for k := 0; k < 2; k++ {
		places <- struct{}{}
		call(number, k)
		<-places
	}
}

// Goroutines that make goroutines.
func nested(number string) {
	var group sync.WaitGroup
	for k := 0; k < 4; k += 2 {
		group.Add(1)
		go func(k int) {
			defer group.Done()
			var inner sync.WaitGroup
			for n := k; n < k+2; n++ {
				inner.Add(1)
				go func(n int) {
					defer inner.Done()
					call(number, n)
				}(n)
			}
			inner.Wait()
		}(k)
	}
	group.Wait()
}

// The same, with a time limit and a value for each.
func nestedIn(ctx context.Context, number string) {
	var group sync.WaitGroup
	for k := 0; k < 4; k += 2 {
		group.Add(1)
		go func(k int) {
			defer group.Done()
			var inner sync.WaitGroup
			for n := k; n < k+2; n++ {
				inner.Add(1)
				go func(n int) {
					defer inner.Done()
					limited, cancel := context.WithTimeout(context.WithValue(ctx, k, n), time.Minute)
					defer cancel()
					callIn(limited, number, n)
				}(n)
			}
			inner.Wait()
		}(k)
	}
	group.Wait()
}

type job struct {
	ctx    context.Context
	number string
	k      int
	done   chan struct{}
}

var jobs = make(chan job)

func startWorkers() {
	for n := 0; n < 4; n++ {
		go func() {
			for job := range jobs {
				if job.ctx != nil {
					callIn(job.ctx, job.number, job.k)
				} else {
					call(job.number, job.k)
				}
				job.done <- struct{}{}
			}
		}()
	}
}

func workers(number string) {
	workersIn(nil, number)
}

// Workers that get the context with their work.
func workersIn(ctx context.Context, number string) {
	done := make(chan struct{})
	for k := 0; k < 2; k++ {
		jobs <- job{ctx, number, k, done}
		<-done
	}
}

// A stack of so many KiB.
func deep(size int) int {
	var frame [1024]byte
	if size == 0 {
		return len(frame)
	}
	frame[size%len(frame)] = byte(size)
	return deep(size-1) + int(frame[0])
}

var kept [64][]byte

// Stacks that grow and move between two calls, and memory that is collected all the time.
func garbage(number string) {
	call(number, 0)
	size := rand.Intn(200)
	deep(size)
	kept[size%len(kept)] = make([]byte, 1<<16)
	done := make(chan struct{})
	go func() {
		deep(200 - size)
		call(number, 1)
		close(done)
	}()
	<-done
}

var once sync.Once

// The first request starts the workers for all.
func lazy(number string) {
	once.Do(startWorkers)
	workers(number)
}

// A goroutine that calls when the request is long answered.
func after(number string) {
	go func() {
		time.Sleep(20 * time.Millisecond)
		call(number, 0)
	}()
}

// A timer's goroutine calls, then the request's own.
func timer(number string) {
	done := make(chan struct{})
	time.AfterFunc(time.Millisecond, func() {
		call(number, 0)
		close(done)
	})
	<-done
	call(number, 1)
}

// Work that is done in the context of its request.
var workInContext = map[string]func(context.Context, string){"nested-in": nestedIn, "workers-in": workersIn}

func main() {
	work := map[string]func(string){
		"goroutines": sequence, "fan-out": fanOut, "limits": limits, "semaphore": semaphore, "nested": nested,
		"workers": workers, "lazy": lazy, "after": after, "timer": timer, "overwritten": overwritten,
		"garbage": garbage,
	}[os.Args[1]]
	workIn := workInContext[os.Args[1]]
	if os.Args[1] == "workers" || os.Args[1] == "workers-in" {
		startWorkers()
	}
	if os.Args[1] == "garbage" {
		debug.SetGCPercent(1)
	}
	http.HandleFunc("/r/", func(response http.ResponseWriter, request *http.Request) {
		number := path.Base(request.URL.Path)
		if workIn != nil {
			workIn(request.Context(), number)
		} else {
			work(number)
		}
		io.WriteString(response, "ok\n")
	})
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}
