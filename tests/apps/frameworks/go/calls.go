// Services of frameworks: this file and one that defines serve. A request for /r/N makes calls to /c/N/0, /c/N/1 and so
// on at the backend, in the way that the variable WAY names.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func call(ctx context.Context, number string, k int) {
	request, err := http.NewRequestWithContext(ctx, "GET", address(number, k), nil)
	if err != nil {
		panic(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}

func address(number string, k int) string {
	return fmt.Sprintf("http://%s/c/%s/%d", os.Getenv("BACKEND"), number, k)
}

// Makes the calls of a request by this function.
func work(call func(k int)) {
	switch os.Getenv("WAY") {
	case "one":
		call(0)
	case "sequence":
		call(0)
		call(1)
	case "parallel":
		var group sync.WaitGroup
		for k := 0; k < 4; k++ {
			group.Add(1)
			go func(k int) {
				defer group.Done()
				call(k)
			}(k)
		}
		group.Wait()
	}
}

func main() {
	if err := serve("127.0.0.1:" + os.Getenv("PORT")); err != nil {
		panic(err)
	}
}
