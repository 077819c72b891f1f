package main

import (
	"bytes"
	"os"
	"testing"
)

// The generated files in the tree must be what the tables say now.
func TestFiles_Fresh(t *testing.T) {
	t.Chdir("..")
	for name, write := range files {
		want, err := write()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./protocol", name)
		}
	}
}
