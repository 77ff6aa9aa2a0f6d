package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// Requests to /hold that are running, and those whose client left.
var holding, left atomic.Int64

func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	http1 := flags.Bool("http1", false, "speak HTTP/1.1 and nothing else")
	certificate := flags.String("certificate", "", "PEM file; with -key: TLS")
	key := flags.String("key", "", "PEM file")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(*http1)
	protocols.SetHTTP2(!*http1 && *key != "")
	protocols.SetUnencryptedHTTP2(!*http1 && *key == "")
	server := http.Server{Handler: routes(), Protocols: &protocols}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if *key != "" {
		return server.ServeTLS(listener, *certificate, *key)
	}
	return server.Serve(listener)
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/info", info)
	mux.HandleFunc("/big", big)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/sink", sink)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/hold", hold)
	mux.HandleFunc("/held", held)
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/status", status)
	return mux
}

// number reads a number of the query.
func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}

func say(w http.ResponseWriter, value any) {
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func info(w http.ResponseWriter, r *http.Request) {
	say(w, map[string]any{
		"method": r.Method, "target": r.RequestURI, "authority": r.Host,
		"version": r.Proto, "fields": r.Header,
	})
}

func big(w http.ResponseWriter, r *http.Request) {
	body := ramp{end: number(r, "bytes")}
	w.Header().Set("content-type", "application/octet-stream")
	w.Header().Set("content-length", strconv.Itoa(body.end))
	block := make([]byte, 64*1024)
	for r.Method != http.MethodHead {
		n := body.fill(block)
		if n == 0 {
			return
		}
		if _, err := w.Write(block[:n]); err != nil {
			return
		}
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "application/octet-stream")
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	block := make([]byte, 16*1024)
	for {
		n, err := r.Body.Read(block)
		if n > 0 {
			if _, broken := w.Write(block[:n]); broken != nil {
				return
			}
			_ = control.Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func sink(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(number(r, "pause_ms")) * time.Millisecond)
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	say(w, map[string]any{"bytes": n, "sha256": hex.EncodeToString(sum.Sum(nil))})
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/event-stream")
	gap := time.Duration(number(r, "gap_ms")) * time.Millisecond
	control := http.NewResponseController(w)
	for i := range number(r, "n") {
		if _, err := fmt.Fprintf(w, "data: token %d\n\n", i); err != nil {
			return
		}
		_ = control.Flush()
		time.Sleep(gap)
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("trailer", "grpc-status, repr-digest")
	_, _ = io.WriteString(w, "before the trailers\n")
	_ = http.NewResponseController(w).Flush()
	w.Header().Set("grpc-status", "0")
	w.Header().Set("repr-digest", "sha-256=:AAAA:")
}

func hold(w http.ResponseWriter, r *http.Request) {
	holding.Add(1)
	defer holding.Add(-1)
	w.Header().Set("content-type", "text/event-stream")
	_, _ = io.WriteString(w, "data: first\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
		left.Add(1)
	case <-time.After(20 * time.Second):
	}
}

func held(w http.ResponseWriter, _ *http.Request) {
	say(w, map[string]int64{"holding": holding.Load(), "left": left.Load()})
}

func early(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "too much", http.StatusRequestEntityTooLarge)
}

func status(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(number(r, "code"))
}
