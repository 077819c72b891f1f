package index

import (
	"context"
	"errors"
	"slices"
)

// Cut takes off what lies at physical or behind it in the log, which ends there now: whole files, durably, before it
// returns. What they had of records before is built again from the log. It may be called at any time, by one
// goroutine, which does not Put meanwhile.
func (x *Index) Cut(physical int64) error {
	x.gate.Lock()
	defer x.gate.Unlock()
	if x.pause != nil {
		x.pause()
	}
	x.builder.Lock()
	defer x.builder.Unlock()
	if x.closed.Load() {
		return ErrClosed
	}
	x.feed.cut(physical)
	x.filesMu.Lock()
	files := *x.files.Load()
	n := slices.IndexFunc(files, func(f *file) bool { return f.endPhysical.Load() >= physical })
	if n < 0 {
		n = len(files)
	}
	kept := files[:n:n]
	x.files.Store(&kept)
	x.filesMu.Unlock()
	x.pos, x.from, x.have = 0, 0, 0
	var errs []error
	for i := len(files) - 1; i >= n; i-- {
		errs = append(errs, x.cfg.FS.Remove(files[i].name), files[i].release())
	}
	if n < len(files) {
		errs = append(errs, x.cfg.FS.SyncDir(x.cfg.Dir))
	}
	errs = append(errs, x.resume(kept))
	x.filesMu.Lock()
	x.safe = Safe{} // Safe looks again
	x.filesMu.Unlock()
	return errors.Join(errs...)
}

// cut forgets what was put of the log from physical on.
func (f *feed) cut(physical int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end, f.kept = min(f.end, physical), min(f.kept, physical)
}

// own makes its caller the builder until the returned function is called, and the context the one that a Cut ends.
func (x *Index) own(ctx context.Context) (context.Context, func()) {
	x.gate.Lock() // waits for a Cut
	defer x.gate.Unlock()
	x.builder.Lock()
	ctx, pause := context.WithCancel(ctx)
	x.pause = pause
	return ctx, func() {
		pause()
		x.builder.Unlock()
	}
}
