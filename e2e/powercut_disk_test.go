//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system of the kernel's whose power can be cut: ext4 on a loop device on a file.
//
// cut is the ioctl EXT4_IOC_SHUTDOWN without a flush of the journal. From that moment nothing reaches the device any more,
// reads of what is not cached and all syncs fail, and what lay in the page cache and in the journal's memory is lost when
// the file system is unmounted. A mount then replays the journal, as after a loss of power.
type disk struct {
	dir     string   // where it is mounted
	image   *os.File // what stands for the medium
	loop    *os.File // keeps the device; it goes with the last user
	options string   // of the mount
	mounted bool
}

// Constants of <linux/loop.h> and of fs/ext4/ext4.h, which is not among the headers for programs.
const (
	loopMajorName   = "/dev/loop"
	ext4Shutdown    = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	shutdownNoFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
)

// newDisk makes the image and its device, mounts it on dir, and proves that the power of a file system on it can be cut. An
// error tells what this machine does not allow.
func newDisk(dir, image string, bytes int64) (d *disk, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("mounting needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return nil, fmt.Errorf("%w (Debian: apt-get install e2fsprogs)", err)
	}
	d = &disk{dir: dir}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if d.image, err = os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, err
	}
	if err := d.image.Truncate(bytes); err != nil {
		return nil, err
	}
	if err := d.attach(); err != nil {
		return nil, err
	}
	if err := d.format(layout{}); err != nil {
		return nil, err
	}
	if err := d.cut(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err == nil {
		return nil, errors.New("a file could be made after EXT4_IOC_SHUTDOWN")
	}
	return d, d.remount()
}

// attach takes a free loop device. The kernel gives it back when neither this process nor a mount uses it.
func (d *disk) attach() error {
	control, err := os.OpenFile(loopMajorName+"-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	for range 20 { // others look for one, too
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("no loop device: %w", err)
		}
		if d.loop, err = os.OpenFile(fmt.Sprint(loopMajorName, n), os.O_RDWR, 0); err != nil {
			return err
		}
		config := unix.LoopConfig{Fd: uint32(d.image.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(d.loop.Fd()), &config)
		if err == nil {
			return nil
		}
		d.loop.Close()
		d.loop = nil
		if !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("cannot use a loop device: %w", err)
		}
	}
	return errors.New("others take every loop device that is free")
}

// layout is how a file system is made and mounted.
type layout struct {
	mkfs    []string // further arguments
	options string   // of the mount
	used    bool     // the device keeps what lay on it, like a disk that had an earlier store
}

// someLayout is one that ext4's users have: mostly the default. Left out is data=writeback together with dioread_lock or
// without extents: after a loss of power such a file system shows in a file what lay on the disk before, and no promise holds
// on it (docs/guarantees.md).
func someLayout() layout {
	pick := func(of ...string) string { return of[rand.IntN(len(of))] }
	return layout{
		mkfs:    strings.Fields(pick("", "", "", "-b 1024", "-b 4096", "-J size=4", "-O ^metadata_csum", "-b 4096 -J size=64")),
		options: pick("", "", "", "data=writeback", "nodelalloc", "data=journal", "commit=1", "nobarrier"),
		used:    rand.IntN(2) == 0,
	}
}

func (l layout) String() string {
	return fmt.Sprintf("mkfs.ext4 %q, mounted with %q, on a used disk: %v", strings.Join(l.mkfs, " "), l.options, l.used)
}

// format makes an empty file system and mounts it.
func (d *disk) format(l layout) error {
	if err := d.unmount(); err != nil {
		return err
	}
	args := append([]string{"-q", "-F"}, l.mkfs...)
	if l.used {
		args = append(args, "-E", "nodiscard")
	}
	if _, err := tool("", nil, "mkfs.ext4", append(args, d.loop.Name())...); err != nil {
		return err
	}
	d.options = l.options
	return d.mount()
}

func (d *disk) mount() error {
	if err := syscall.Mount(d.loop.Name(), d.dir, "ext4", 0, d.options); err != nil {
		return fmt.Errorf("cannot mount with %q: %w", d.options, err)
	}
	d.mounted = true
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil { // somebody has a copy of the mount, and the kernel the old file system
		return fmt.Errorf("mounted, and still without power: %w", err)
	}
	return nil
}

// unmount waits for the last user to leave: a process that was killed lets go of its files after a moment.
func (d *disk) unmount() error {
	for end := time.Now().Add(10 * time.Second); d.mounted; time.Sleep(time.Millisecond) {
		err := syscall.Unmount(d.dir, 0)
		d.mounted = errors.Is(err, syscall.EBUSY)
		if err != nil && (!d.mounted || time.Now().After(end)) {
			return fmt.Errorf("cannot unmount: %w", err)
		}
	}
	return nil
}

// cut takes the power away.
func (d *disk) cut() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, shutdownNoFlush); err != nil {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", err)
	}
	return nil
}

// remount brings the power back.
func (d *disk) remount() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

// settle has the kernel write something of what it has not written yet, as it may do at any moment: mostly single files,
// so that one is on the disk and another, which was written before it, is not.
func (d *disk) settle() {
	if rand.IntN(20) == 0 {
		if f, err := os.Open(d.dir); err == nil {
			_ = unix.Syncfs(int(f.Fd()))
			f.Close()
		}
		return
	}
	dir := d.dir
	for { // some file, by way of some directories
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) == 0 {
			return
		}
		e := entries[rand.IntN(len(entries))]
		dir = filepath.Join(dir, e.Name())
		if e.Type().IsRegular() {
			break
		}
	}
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		f.Close()
	}
}

func (d *disk) close() {
	if err := d.unmount(); err != nil {
		_ = syscall.Unmount(d.dir, unix.MNT_DETACH)
	}
	if d.loop != nil {
		d.loop.Close()
	}
	if d.image != nil {
		d.image.Close()
		os.Remove(d.image.Name())
	}
}
