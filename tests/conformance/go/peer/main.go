// Go's own HTTP/2, client and server, as a peer of the proxy.
//
//	peer serve [-http1] [-certificate FILE -key FILE]   prints its address, ends with its input
//	peer ask [-authority FILE] BASE                     requests as JSON in, outcomes as JSON out
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("peer serve | peer ask"))
	}
	switch os.Args[1] {
	case "serve":
		fail(serve(os.Args[2:]))
	case "ask":
		fail(ask(os.Args[2:]))
	default:
		fail(fmt.Errorf("unknown command %q", os.Args[1]))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// ramp gives the bytes 0 to 255 over and over: what every body here is made of.
type ramp struct{ at, end int }

func (r *ramp) fill(into []byte) int {
	n := min(len(into), r.end-r.at)
	for i := range n {
		into[i] = byte(r.at + i)
	}
	r.at += n
	return n
}
