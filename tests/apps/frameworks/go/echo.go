package main

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

func serve(address string) error {
	router := echo.New()
	router.HideBanner = true
	router.GET("/r/:number", func(c echo.Context) error {
		work(func(k int) { call(c.Request().Context(), c.Param("number"), k) })
		return c.String(http.StatusOK, "ok\n")
	})
	return router.Start(address)
}
