package main

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Server and client are fasthttp's.
func serve(where string) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/r/:number", func(c *fiber.Ctx) error {
		// A parameter is a part of a buffer that is used again.
		number := strings.Clone(c.Params("number"))
		work(func(k int) {
			if _, _, err := fasthttp.Get(nil, address(number, k)); err != nil {
				panic(err)
			}
		})
		return c.SendString("ok\n")
	})
	return app.Listen(where)
}
