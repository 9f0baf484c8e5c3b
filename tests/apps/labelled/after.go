//go:build go1.21

package main

import (
	"context"
	"time"
)

// As after, with a context that the end of the request does not cancel.
func afterIn(ctx context.Context, number string) {
	go func() {
		time.Sleep(20 * time.Millisecond)
		callIn(context.WithoutCancel(ctx), number, 0)
	}()
}

func init() {
	workInContext["after-in"] = afterIn
}
