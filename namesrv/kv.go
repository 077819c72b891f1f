package namesrv

import (
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
)

// orderNamespace holds "broker-a:8;broker-b:8" for every topic whose messages are in order over all brokers.
const orderNamespace = "ORDER_TOPIC_CONFIG"

// kv is the key-value configuration: namespaces of keys. It is written to its file before a change is answered.
// A namespace stays when its last key goes. Source: Java KVConfigManager.
type kv struct {
	fs   vfs.FS
	path string

	mu    sync.RWMutex
	table map[string]map[string]string
	write sync.Mutex // held over a change and its file; taken before mu
}

// kvFile is the content of kvConfig.json.
type kvFile struct {
	ConfigTable map[string]map[string]string `json:"configTable"`
}

func openKV(fs vfs.FS, path string, log *slog.Logger) (*kv, error) {
	var file kvFile
	_, fallback, err := durable.Read(fs, path, func(data []byte) error {
		file = kvFile{}
		return laxjson.Unmarshal(data, &file)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the key-value configuration: %w", err)
	}
	if fallback != nil {
		log.Warn("key-value configuration taken from its backup", "file", path, "err", fallback)
	}
	if file.ConfigTable == nil {
		file.ConfigTable = map[string]map[string]string{}
	}
	return &kv{fs: fs, path: path, table: file.ConfigTable}, nil
}

// get returns the value of a key, "" and false if it is not there.
func (k *kv) get(namespace, key string) (string, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	v, ok := k.table[namespace][key]
	return v, ok
}

// namespace returns the keys of a namespace, nil if there is none. The map is never changed, by nobody.
func (k *kv) namespace(name string) map[string]string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.table[name]
}

func (k *kv) put(namespace, key, value string) error {
	return k.change(namespace, true, func(keys map[string]string) { keys[key] = value })
}

func (k *kv) delete(namespace, key string) error {
	return k.change(namespace, false, func(keys map[string]string) { delete(keys, key) })
}

// change applies fn to a copy of a namespace, writes the file, and puts the copy in place. If the file cannot be
// written nothing has changed.
func (k *kv) change(namespace string, create bool, fn func(keys map[string]string)) error {
	k.write.Lock()
	defer k.write.Unlock()
	keys, ok := k.table[namespace] // only write's owner changes the table
	if !ok && !create {
		return nil
	}
	keys = maps.Clone(keys)
	if keys == nil {
		keys = map[string]string{}
	}
	fn(keys)
	table := maps.Clone(k.table)
	table[namespace] = keys
	data, err := laxjson.MarshalIndent(&kvFile{table})
	if err != nil {
		return err
	}
	if err := durable.Write(k.fs, k.path, data); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table = table
	return nil
}
