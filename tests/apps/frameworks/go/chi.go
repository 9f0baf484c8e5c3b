package main

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"
)

func serve(address string) error {
	router := chi.NewRouter()
	router.Get("/r/{number}", func(response http.ResponseWriter, request *http.Request) {
		work(func(k int) { call(request.Context(), chi.URLParam(request, "number"), k) })
		io.WriteString(response, "ok\n")
	})
	return http.ListenAndServe(address, router)
}
