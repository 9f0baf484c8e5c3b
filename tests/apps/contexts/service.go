// A service that makes a call for each request, as many as its path says behind a slash. No tracing in it.
package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	backend := os.Getenv("BACKEND")
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		count := 1
		if parts := strings.Split(request.URL.Path, "/"); len(parts) > 2 {
			count, _ = strconv.Atoi(parts[2])
		}
		for ; count > 0; count-- {
			answer, err := http.Get(backend)
			if err != nil {
				http.Error(response, err.Error(), http.StatusBadGateway)
				return
			}
			io.Copy(response, answer.Body)
			answer.Body.Close()
		}
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
