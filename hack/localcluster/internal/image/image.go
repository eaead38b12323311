// Package image writes an image that holds one program, as an archive that containerd and kind load.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Write writes an image of that name whose only file and entry point is the program, run as nobody.
func Write(program, imageName, to string) error {
	layer, err := tarball.LayerFromOpener(layerOf(program))
	if err != nil {
		return fmt.Errorf("make layer of %s: %w", imageName, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("add layer to %s: %w", imageName, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read configuration of %s: %w", imageName, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/" + filepath.Base(program)}, User: "65535:65535"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return fmt.Errorf("configure %s: %w", imageName, err)
	}
	tag, err := name.NewTag(imageName)
	if err != nil {
		return fmt.Errorf("name image: %w", err)
	}
	if err := tarball.WriteToFile(to, tag, img); err != nil {
		return fmt.Errorf("write %s: %w", imageName, err)
	}
	return nil
}

// layerOf opens a tar archive with the program at the top.
func layerOf(program string) tarball.Opener {
	return func() (io.ReadCloser, error) {
		data, err := os.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("read program: %w", err)
		}
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		err = w.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(data)), Format: tar.FormatPAX})
		if err == nil {
			_, err = w.Write(data)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
		return io.NopCloser(&layer), nil
	}
}
