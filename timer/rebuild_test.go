package timer

import (
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// Whatever is missing of the files, or not whole, or there in another form: each message that waits comes once, at its time,
// and what was delivered or recalled does not come again.
func TestOpen_Rebuild(t *testing.T) {
	const wheelFile, logDir, snapshot = "store/timerwheel", "store/timerlog/", "store/timerwheel.1234"
	cut := func(t *testing.T, disk *crashfs.Disk, name string) {
		data, err := vfs.ReadFile(disk, name)
		must(t, err)
		must(t, vfs.WriteFile(disk, name, data[:len(data)/2]))
	}
	for name, damage := range map[string]func(t *testing.T, disk *crashfs.Disk){
		"wheel missing": func(t *testing.T, disk *crashfs.Disk) { must(t, disk.Remove(wheelFile)) },
		"wheel short":   func(t *testing.T, disk *crashfs.Disk) { cut(t, disk, wheelFile) },
		"snapshot": func(t *testing.T, disk *crashfs.Disk) {
			must(t, vfs.WriteFile(disk, snapshot, []byte("what Java kept")))
		},
		"log missing": func(t *testing.T, disk *crashfs.Disk) {
			files, err := disk.ReadDir(logDir)
			must(t, err)
			for _, f := range files {
				must(t, disk.Remove(logDir+f.Name()))
			}
		},
		"last log file missing": func(t *testing.T, disk *crashfs.Disk) {
			files, err := disk.ReadDir(logDir)
			must(t, err)
			for _, f := range files[2:] {
				must(t, disk.Remove(logDir+f.Name()))
			}
		},
		"wheel and log missing": func(t *testing.T, disk *crashfs.Disk) {
			files, err := disk.ReadDir(logDir)
			must(t, err)
			for _, f := range files {
				must(t, disk.Remove(logDir+f.Name()))
			}
			must(t, disk.Remove(wheelFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newDisk(10)
				o := options{window: 20}
				w := open(t, disk, o)
				want := make(map[string]expected)
				for i := range 60 {
					at := time.Now().UnixMilli() + 300 + int64(i)*997
					must(t, w.timed(keyOf(i), at))
					want[keyOf(i)] = expected{at, true, i%7 == 6}
					if i%7 == 6 {
						must(t, w.timed("recall of "+keyOf(i), at, message.PropTimerDelUniqkey, keyOf(i)))
					}
				}
				time.Sleep(15 * time.Second)
				w.stop()
				damage(t, disk)
				w = open(t, disk, o)
				time.Sleep(70 * time.Second)
				check(t, name, want, w.arrivals(), 1500)
				w.stop()
				if _, err := disk.Stat(snapshot); !errors.Is(err, fs.ErrNotExist) {
					t.Error("the snapshot is there still")
				}
			})
		})
	}
}
