package rungroup

import (
	"context"
	"errors"
	"testing"
)

// The first part that fails ends the others, and its error comes out with its name.
func TestGroup_FirstErrorEndsAll(t *testing.T) {
	g := New(t.Context())
	broken := errors.New("broken")
	ended := make(chan struct{})
	g.Go(Part{"patient", func(ctx context.Context) error {
		<-ctx.Done()
		close(ended)
		return nil
	}})
	g.Go(Part{"fragile", func(context.Context) error { return broken }})
	<-g.Done()
	<-ended
	if err := g.Stop(); !errors.Is(err, broken) || err.Error() != "fragile: broken" {
		t.Errorf("got %v", err)
	}
}
