// Receives webhooks from Harborhook, verifies both signature schemes and prints each event once.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	tolerance    = 5 * time.Minute
	bodyBytesMax = 1 << 20
	idsKeptMax   = 10_000
)

// No leading zeros: the timestamp follows the body without a separator, so a zero could be the body's.
var canonicalTimestamp = regexp.MustCompile(`^[1-9][0-9]{0,11}$`)

// verifier tells whether a request was signed with the endpoint's secret.
type verifier struct {
	secret   []byte
	standard *standardwebhooks.Webhook
}

func newVerifier(secret string) (*verifier, error) {
	// Without `whsec_` the secret is its own bytes; NewWebhook would read it as base64.
	standard, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if strings.HasPrefix(secret, "whsec_") {
		standard, err = standardwebhooks.NewWebhook(secret)
	}
	return &verifier{secret: []byte(secret), standard: standard}, err
}

// isGenuine wants at least one scheme to have signed, and each that did to be right.
func (v *verifier) isGenuine(header http.Header, body []byte) bool {
	hasStandard := len(header.Values("Webhook-Signature")) > 0
	hasHarborhook := len(header.Values("X-Harborhook-Signature")) > 0
	if hasStandard && v.standard.Verify(body, header) != nil {
		return false
	}
	if hasHarborhook && !v.isGenuineHarborhook(header, body) {
		return false
	}
	return hasStandard || hasHarborhook
}

func (v *verifier) isGenuineHarborhook(header http.Header, body []byte) bool {
	timestamp := header.Get("X-Harborhook-Timestamp")
	if !canonicalTimestamp.MatchString(timestamp) {
		return false
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, v.secret)
	mac.Write(body)
	mac.Write([]byte(timestamp))
	expected := []byte("sha256=" + hex.EncodeToString(mac.Sum(nil)))
	// While a secret is rotated there is one signature for each valid secret.
	for _, one := range strings.Split(header.Get("X-Harborhook-Signature"), ",") {
		if hmac.Equal(expected, []byte(strings.TrimSpace(one))) {
			return true
		}
	}
	return false
}

// seenIDs remembers the last ids. A real service stores the id in the transaction that handles the event.
type seenIDs struct {
	mu    sync.Mutex
	known map[string]bool
	order []string
}

// add remembers an id; false if it was known.
func (s *seenIDs) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] {
		return false
	}
	s.known[id] = true
	s.order = append(s.order, id)
	if len(s.order) > idsKeptMax {
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	return true
}

type receiver struct {
	verifier *verifier
	seen     seenIDs
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.WriteHeader(r.receive(w, request))
}

func (r *receiver) receive(w http.ResponseWriter, request *http.Request) int {
	if request.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	// The bytes as they came: parsing and printing them again would change what was signed.
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, bodyBytesMax))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return http.StatusBadRequest
	}
	id := request.Header.Get("Webhook-Id")
	if id == "" || !r.verifier.isGenuine(request.Header, body) {
		return http.StatusUnauthorized
	}
	if r.seen.add(id) {
		fmt.Println(request.Header.Get("X-Harborhook-Event-Type"), id, string(body))
	}
	return http.StatusNoContent
}

func main() {
	log.SetFlags(0)
	secret := os.Getenv("ENDPOINT_SECRET")
	if secret == "" {
		log.Fatal("set ENDPOINT_SECRET to the secret of the endpoint")
	}
	verifier, err := newVerifier(secret)
	if err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8081"
	}
	server := http.Server{
		Addr:              "127.0.0.1:" + port,
		Handler:           &receiver{verifier: verifier, seen: seenIDs{known: map[string]bool{}}},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
	}
	log.Printf("receiving on http://%s/", server.Addr)
	log.Fatal(server.ListenAndServe())
}
