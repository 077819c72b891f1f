package broker

import (
	"fmt"
	"time"

	"rocketd/settings"
	"rocketd/store"
)

// retentionKeys are the settings that say when old files go. All of them may change at run time.
var retentionKeys = []string{
	"fileReservedTime", "deleteWhen", "cleanResourceInterval", "deleteFileBatchMax", "deleteCommitLogFilesInterval",
	"diskMaxUsedSpaceRatio", "diskSpaceCleanForciblyRatio", "diskSpaceWarningLevelRatio", "cleanFileForciblyEnable",
}

func retentionOf(s *settings.Settings) (store.Retention, error) {
	hours, err := store.ParseHours(s.String("deleteWhen"))
	if err != nil {
		return store.Retention{}, fmt.Errorf("deleteWhen: %w", err)
	}
	reserved := time.Duration(s.Int64("fileReservedTime")) * time.Hour
	if reserved == 0 {
		reserved = -1 // not at all, where the store's zero would be its default
	}
	return store.Retention{
		Reserved:  reserved,
		Hours:     hours,
		Every:     s.Duration("cleanResourceInterval"),
		Batch:     s.Int("deleteFileBatchMax"),
		Pause:     s.Duration("deleteCommitLogFilesInterval"),
		Used:      s.Int("diskMaxUsedSpaceRatio"),
		Forced:    s.Int("diskSpaceCleanForciblyRatio"),
		Full:      s.Int("diskSpaceWarningLevelRatio"),
		KeepYoung: !s.Bool("cleanFileForciblyEnable"),
	}, nil
}

// followRetention gives the store what an update changed. A value that cannot be is logged and without effect.
func (b *Broker) followRetention() {
	for _, key := range retentionKeys {
		b.cfg.Settings.OnChange(key, func() {
			r, err := retentionOf(b.cfg.Settings)
			if err == nil {
				err = b.store.SetRetention(r)
			}
			if err != nil {
				b.log.Warn("setting has no effect", "key", key, "err", err)
			}
		})
	}
}

// followTransfer gives the store the limits of what one pull may bring, now and when they change.
func (b *Broker) followTransfer() {
	s := b.cfg.Settings
	set := func() {
		b.store.SetTransfer(store.Transfer{
			HotBytes: s.Int("maxTransferBytesOnMessageInMemory"), HotCount: s.Int("maxTransferCountOnMessageInMemory"),
			ColdBytes: s.Int("maxTransferBytesOnMessageInDisk"), ColdCount: s.Int("maxTransferCountOnMessageInDisk"),
		})
	}
	set()
	for _, key := range []string{"maxTransferBytesOnMessageInMemory", "maxTransferCountOnMessageInMemory", "maxTransferBytesOnMessageInDisk", "maxTransferCountOnMessageInDisk"} {
		s.OnChange(key, set)
	}
}

// dropped is the store's bell: nothing before physical is there any more.
func (b *Broker) dropped(physical int64) {
	if b.index == nil {
		return
	}
	if err := b.index.DeleteBefore(physical); err != nil {
		b.component("index").Warn("cannot remove old index files", "err", err)
	}
}
