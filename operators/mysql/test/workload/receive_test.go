package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReceiver: what was sent is given back as it was and in order, and who sent it is answered as a robot answers.
func TestReceiver(t *testing.T) {
	server := httptest.NewServer(&receiver{})
	defer server.Close()
	for _, sent := range []string{"/plain one", "/send two"} {
		path, body, _ := strings.Cut(sent, " ")
		response, err := http.Post(server.URL+path+"?key=secret", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(answer) != `{"errcode":0,"errmsg":"ok"}` {
			t.Errorf("it answers %s, %v", answer, err)
		}
	}
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var seen []notification
	if err := json.NewDecoder(response.Body).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0].Path != "/plain" || seen[0].Body != "one" || seen[1].Path != "/send" || seen[1].Body != "two" || seen[0].At.IsZero() {
		t.Errorf("it has seen %+v", seen)
	}
}
