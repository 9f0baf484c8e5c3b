package main

import (
	"math/rand"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

// The address of the runtime's own record of the goroutine.
func goroutine() uintptr

// The place of the number in such a record, in bytes.
var place uintptr
var looked sync.Once

func word(address uintptr) *uint64 {
	// A compiler takes the address of what is not Go's for a mistake, unless it is read from memory.
	return *(**uint64)(unsafe.Pointer(&address))
}

// Number of the goroutine, as its trace begins: "goroutine 7 [running]".
func number() uint64 {
	text := make([]byte, 64)
	text = text[len("goroutine "):runtime.Stack(text, false)]
	end := 0
	for text[end] != ' ' {
		end++
	}
	number, _ := strconv.ParseUint(string(text[:end]), 10, 64)
	return number
}

// Finds the place that has the right number in each of some goroutines.
func find() {
	var candidates [64]int
	for n := 0; n < 8; n++ {
		done := make(chan struct{})
		go func() {
			own, id := goroutine(), number()
			for n := range candidates {
				if *word(own + uintptr(n)*8) == id {
					candidates[n]++
				}
			}
			close(done)
		}()
		<-done
	}
	for n, count := range candidates {
		if count == 8 {
			place = uintptr(n) * 8
		}
	}
	if place == 0 {
		panic("no place")
	}
}

// What tells the running goroutine is wrong while a call is written: its number, or the end of its stack.
func overwritten(text string) {
	looked.Do(find)
	own := goroutine()
	id := word(own + place)
	kept := *id
	// No number that another goroutine may have.
	*id = rand.Uint64()>>uint(rand.Intn(24)) | 1<<40
	call(text, 0)
	*id = kept

	connection, err := net.Dial("tcp", os.Getenv("BACKEND"))
	if err != nil {
		return
	}
	defer connection.Close()
	file, err := connection.(*net.TCPConn).File()
	if err != nil {
		return
	}
	defer file.Close()
	descriptor := file.Fd()
	request := []byte("GET /c/" + text + "/1 HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n")
	end := word(own + 8)
	kept, *end = *end, 1
	// It tells the scheduler nothing, which would look at the stack.
	syscall.RawSyscall(syscall.SYS_WRITE, descriptor, uintptr(unsafe.Pointer(&request[0])), uintptr(len(request)))
	*end = kept
	for {
		if count, err := connection.Read(request); err != nil || count == 0 {
			return
		}
	}
}
