// Package loop deals with files that hold file systems, and the loop devices by which the kernel mounts them.
package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Devices returns the names of the loop devices behind which one of the files is: a file's path is told as the box saw
// it, but its number is the same.
func Devices(images []string) ([]string, error) {
	type file struct{ device, inode uint64 }
	ours := map[file]bool{}
	for _, image := range images {
		var st unix.Stat_t
		if err := unix.Stat(image, &st); err == nil {
			ours[file{st.Dev, st.Ino}] = true
		}
	}
	devices, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil || len(ours) == 0 {
		return nil, err
	}
	var found []string
	for _, d := range devices {
		name := strings.Split(d, "/")[3]
		device, err := os.Open("/dev/" + name)
		if err != nil {
			continue // It was let go of between listing and opening.
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		if err == nil && ours[file{info.Device, info.Inode}] {
			found = append(found, name)
		}
		if err := device.Close(); err != nil {
			return nil, fmt.Errorf("look at loop device: %w", err)
		}
	}
	return found, nil
}

// What the kernel calls the requests to freeze and thaw a file system (linux/fs.h).
const (
	freezeRequest = 0xc0045877
	thawRequest   = 0xc0045878
)

// Stall lets everything hang that writes to the file system mounted there, after what was written before is on it. It
// returns what Release takes.
func Stall(mountPoint string) (*os.File, error) {
	dir, err := os.Open(mountPoint)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	if err := unix.IoctlSetInt(int(dir.Fd()), freezeRequest, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("stall volume: %w", err), dir.Close())
	}
	return dir, nil
}

// Release lets writes go on.
func Release(stalled *os.File) error {
	err := unix.IoctlSetInt(int(stalled.Fd()), thawRequest, 0)
	if errors.Is(err, unix.EINVAL) {
		err = nil // It is not stalled: somebody in the box was first.
	}
	if err := errors.Join(err, stalled.Close()); err != nil {
		return fmt.Errorf("release volume: %w", err)
	}
	return nil
}

// ReleaseImage lets writes go on to a file system that was stalled by a process that is gone. Such a file system outlives
// all its mounts, so it is mounted once more, where only one thread of this process sees it.
func ReleaseImage(image string) error {
	devices, err := Devices([]string{image})
	if err != nil || len(devices) == 0 {
		return err
	}
	result := make(chan error, 1)
	go func() {
		// The thread ends with this function, and with it what it has mounted.
		runtime.LockOSThread()
		result <- releaseDevice("/dev/" + devices[0])
	}()
	return <-result
}

func releaseDevice(device string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("release volume: take an own view of the mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("release volume: make mounts private: %w", err)
	}
	const at = "/mnt"
	if err := unix.Mount(device, at, "ext4", 0, ""); err != nil {
		return fmt.Errorf("release volume: mount %s: %w", device, err)
	}
	dir, err := os.Open(at)
	if err != nil {
		return fmt.Errorf("release volume: %w", err)
	}
	return errors.Join(Release(dir), unix.Unmount(at, 0))
}
