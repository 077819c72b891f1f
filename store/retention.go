package store

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Retention says when the oldest files of the log may go. It can be changed while the store runs. Every field that is
// 0 has Java's default. Source: Java MessageStoreConfig, DefaultMessageStore.CleanCommitLogService.
type Retention struct {
	// Reserved is how long a file stays after it was written to last: fileReservedTime, default 72 h. A negative one
	// means no time at all.
	Reserved time.Duration
	// Hours of the local day in which files that are old enough are removed: deleteWhen, default 4.
	Hours []int
	// Every is how often the cleaner looks: cleanResourceInterval, default 10 s. It removes at most Batch files then
	// (deleteFileBatchMax, default 10), Pause apart (deleteCommitLogFilesInterval, default 100 ms).
	Every time.Duration
	Batch int
	Pause time.Duration
	// Parts of the disk in use, percent. Above Used, files that are old enough go at any hour: diskMaxUsedSpaceRatio,
	// default 75, 10 to 95. Above Forced, the oldest go whatever their age, unless KeepYoung is set:
	// diskSpaceCleanForciblyRatio, default 85, 30 to 85. Above Full, appends are refused until no more than Forced is
	// in use: diskSpaceWarningLevelRatio, default 90, 35 to 90.
	Used, Forced, Full int
	KeepYoung          bool // cleanFileForciblyEnable=false
}

// ParseHours reads the setting deleteWhen: hours of the day with ";" between them.
func ParseHours(s string) ([]int, error) {
	var hours []int
	for _, part := range strings.Split(s, ";") {
		h, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || h < 0 || h > 24 {
			return nil, fmt.Errorf("%q is no hour of the day", part)
		}
		hours = append(hours, h%24)
	}
	return hours, nil
}

func (r Retention) withDefaults() (Retention, error) {
	r.Reserved = max(cmp.Or(r.Reserved, 72*time.Hour), 0)
	if len(r.Hours) == 0 {
		r.Hours = []int{4}
	}
	r.Every = cmp.Or(r.Every, 10*time.Second)
	r.Batch = cmp.Or(r.Batch, 10)
	r.Pause = cmp.Or(r.Pause, 100*time.Millisecond)
	r.Used = min(max(cmp.Or(r.Used, 75), 10), 95)
	r.Forced = min(max(cmp.Or(r.Forced, 85), 30), 85)
	r.Full = min(max(cmp.Or(r.Full, 90), 35), 90)
	for _, h := range r.Hours {
		if h < 0 || h > 23 {
			return r, fmt.Errorf("store: %d is no hour of the day", h)
		}
	}
	if r.Every < 0 || r.Batch < 0 || r.Pause < 0 {
		return r, errors.New("store: intervals and numbers of the cleaner cannot be negative")
	}
	return r, nil
}

// SetRetention changes the rules from the next round of the cleaner on.
func (s *Store) SetRetention(r Retention) error {
	r, err := r.withDefaults()
	if err == nil {
		s.retention.Store(&r)
	}
	return err
}
