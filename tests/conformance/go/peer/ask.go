package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// wish is one request, made `Count` times at once.
type wish struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Fields map[string]string `json:"fields"`
	// Body is its length; it is sent without one being announced.
	Body int `json:"body"`
	// PauseMs is waited between the head and the first read of the body.
	PauseMs int `json:"pause_ms"`
	// CancelAfter bytes of the body the request is given up; 0: never.
	CancelAfter int `json:"cancel_after"`
	Count       int `json:"count"`
}

type outcome struct {
	Status   int               `json:"status"`
	Version  string            `json:"version"`
	Length   int64             `json:"length"`
	Bytes    int               `json:"bytes"`
	Sha256   string            `json:"sha256"`
	Events   int               `json:"events"`
	SpreadMs int64             `json:"spread_ms"`
	Fields   map[string]string `json:"fields"`
	Trailers map[string]string `json:"trailers"`
	Text     string            `json:"text"`
	Error    string            `json:"error"`
}

const textMax = 4096

func ask(arguments []string) error {
	flags := flag.NewFlagSet("ask", flag.ExitOnError)
	authority := flags.String("authority", "", "PEM file of who signed the server's certificate")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var wishes []wish
	if err := json.NewDecoder(os.Stdin).Decode(&wishes); err != nil {
		return err
	}
	client, err := newClient(*authority)
	if err != nil {
		return err
	}
	found := make([][]outcome, len(wishes))
	for i, one := range wishes {
		found[i] = make([]outcome, max(1, one.Count))
		var running sync.WaitGroup
		for k := range found[i] {
			running.Add(1)
			go func() {
				defer running.Done()
				found[i][k] = exchange(client, flags.Arg(0), one)
			}()
		}
		running.Wait()
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func newClient(authority string) (*http.Client, error) {
	var protocols http.Protocols
	protocols.SetHTTP2(authority != "")
	protocols.SetUnencryptedHTTP2(authority == "")
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", authority)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// streamed hides a body's length, so that none is announced.
type streamed struct{ body *ramp }

func (s streamed) Read(into []byte) (int, error) {
	if n := s.body.fill(into); n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

func exchange(client *http.Client, base string, one wish) outcome {
	stopped, cancel := context.WithCancel(context.Background())
	defer cancel()
	var body io.Reader
	if one.Body > 0 {
		body = streamed{&ramp{end: one.Body}}
	}
	request, err := http.NewRequestWithContext(stopped, one.Method, base+one.Path, body)
	if err != nil {
		return outcome{Error: err.Error()}
	}
	for name, value := range one.Fields {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return outcome{Error: err.Error()}
	}
	defer response.Body.Close()
	said := outcome{
		Status: response.StatusCode, Version: response.Proto, Length: response.ContentLength,
		Fields: flat(response.Header),
	}
	time.Sleep(time.Duration(one.PauseMs) * time.Millisecond)
	if err := said.read(response.Body, one.CancelAfter); err != nil {
		said.Error = err.Error()
	}
	said.Trailers = flat(response.Trailer)
	return said
}

func (said *outcome) read(body io.Reader, cancelAfter int) error {
	sum := sha256.New()
	block := make([]byte, 64*1024)
	var first, last time.Time
	var text strings.Builder
	for {
		n, err := body.Read(block)
		if n > 0 {
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			said.Bytes += n
			said.Events += bytes.Count(block[:n], []byte("data: "))
			sum.Write(block[:n])
			text.Write(block[:min(n, max(0, textMax-text.Len()))])
		}
		if err == io.EOF || cancelAfter > 0 && said.Bytes >= cancelAfter {
			said.Sha256 = hex.EncodeToString(sum.Sum(nil))
			said.SpreadMs = last.Sub(first).Milliseconds()
			said.Text = strings.ToValidUTF8(text.String(), "?")
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func flat(fields http.Header) map[string]string {
	found := make(map[string]string, len(fields))
	for name, values := range fields {
		found[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return found
}
