// Command verify reads an exported log with Go's own golang.org/x/mod/sumdb packages, which share no
// line with ours: it opens both checkpoints, proves every entry under the newer one from the hash
// tiles, and proves that the newer continues the older.
//
//	verify FOLDER VKEY OLD_CHECKPOINT
//
// It prints the number of entries.
package main

import (
	"encoding/binary"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

// ReadTiles maps the path of a Go tile (tile/8/0/x001/234.p/5) to that of C2SP tlog-tiles.
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func open(path, vkey string) tlog.Tree {
	data, err := os.ReadFile(path)
	check(err)
	verifier, err := note.NewVerifier(vkey)
	check(err)
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		log.Fatalf("the origin %q is not the name of the key", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	var tree tlog.Tree
	tree.N = size
	copy(tree.Hash[:], root)
	return tree
}

func main() {
	log.SetFlags(0)
	dir, vkey, older := folder(os.Args[1]), os.Args[2], os.Args[3]
	tree := open(filepath.Join(string(dir), "checkpoint"), vkey)
	before := open(older, vkey)
	reader := tlog.TileHashReader(tree, dir)

	growth, err := tlog.ProveTree(tree.N, before.N, reader)
	check(err)
	check(tlog.CheckTree(growth, tree.N, tree.Hash, before.N, before.Hash))

	var index int64
	for index < tree.N {
		bundle := tlog.Tile{H: height, L: -1, N: index / 256, W: 256}
		if tree.N-index < 256 {
			bundle.W = int(tree.N - index)
		}
		path := strings.Replace(bundle.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(string(dir), path))
		check(err)
		for len(data) > 0 {
			size := int(binary.BigEndian.Uint16(data))
			entry := data[2 : 2+size]
			data = data[2+size:]
			proof, err := tlog.ProveRecord(tree.N, index, reader)
			check(err)
			check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
			index++
		}
	}
	if index != tree.N {
		log.Fatalf("the bundles hold %d entries, the head says %d", index, tree.N)
	}
	fmt.Println(index)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
