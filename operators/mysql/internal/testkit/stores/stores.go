// Package stores opens stores for tests.
package stores

import (
	"testing"

	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// Folder opens a store in a folder that exists. It is closed when the test ends.
func Folder(t testing.TB, dir string) objectstore.Store {
	t.Helper()
	store, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
