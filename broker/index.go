package broker

import (
	"context"
	"path/filepath"

	"rocketd/index"
	"rocketd/protocol"
)

// openIndex opens the index of keys where the settings want one. What a crash left behind is built from the log
// when it runs, beside the serving.
func (b *Broker) openIndex(root string) (err error) {
	s := b.cfg.Settings
	if !s.Bool("messageIndexEnable") || !s.Bool("indexFileWriteEnable") {
		return nil
	}
	b.index, err = index.Open(index.Config{
		Dir:     filepath.Join(root, "index"),
		Source:  b.store,
		Slots:   int32(s.Int("maxHashSlotNum")),
		Entries: int32(s.Int("maxIndexNum")),
		Clean:   b.store.Clean(),
		SafeMs:  b.store.IndexTime(),
		FS:      b.cfg.FS,
		Log:     b.component("index"),
	})
	return err
}

// runIndex builds the index. When it cannot be written any more, the broker goes on without what is new in it.
func (b *Broker) runIndex(ctx context.Context) error {
	if err := b.index.Run(ctx); err != nil {
		b.component("index").Error("index is written no more; messages from now on are not found by their keys", "err", err)
	}
	return nil
}

// appended is the store's bell: what is in the log now is to be found by its keys, and goes to slaves.
func (b *Broker) appended(physical int64, records []byte) {
	b.ha.Grew()
	if b.index != nil {
		b.index.Put(physical, records)
	}
}

// indexMs is for the store's checkpoint.
func (b *Broker) indexMs(flushed int64) int64 {
	if b.index == nil {
		return 0
	}
	return b.index.Safe(flushed).Ms
}

// byKey serves QUERY_MESSAGE.
func (b *Broker) byKey(c *protocol.Call) error {
	if b.index == nil || !b.cfg.Settings.Bool("indexFileReadEnable") {
		return protocol.Errorf(protocol.QueryNotFound, "this broker keeps no index of keys (messageIndexEnable, indexFileWriteEnable, indexFileReadEnable)")
	}
	return b.keys.ByKey(c)
}
