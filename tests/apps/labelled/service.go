// As service.py, with goroutines: service WAY.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"sync"
)

func call(number string, k int) {
	answer, err := http.Get(fmt.Sprintf("http://%s/c/%s/%d", os.Getenv("BACKEND"), number, k))
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

func main() {
	work := map[string]func(string){"goroutines": sequence, "fan-out": fanOut}[os.Args[1]]
	http.HandleFunc("/r/", func(response http.ResponseWriter, request *http.Request) {
		work(path.Base(request.URL.Path))
		io.WriteString(response, "ok\n")
	})
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}
