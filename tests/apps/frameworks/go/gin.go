package main

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Its calls carry no context.
func serve(address string) error {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.Recovery())
	router.GET("/r/:number", func(c *gin.Context) {
		work(func(k int) { call(context.Background(), c.Param("number"), k) })
		c.String(http.StatusOK, "ok\n")
	})
	return router.Run(address)
}
