// A service that makes one call for each request. No tracing in it.
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	backend := os.Getenv("BACKEND")
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		answer, err := http.Get(backend)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(response, answer.Body)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
