package rungroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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

// A sleep ends when its time is over, or at once with the context.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		if err := Sleep(ctx, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Minute, cancel)
		began = time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
