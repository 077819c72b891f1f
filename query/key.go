package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"rocketd/index"
	"rocketd/protocol"
)

// Index finds messages by key. FindCached does not block: index.ErrWouldWait says that it would have to.
type Index interface {
	Find(ctx context.Context, q index.Query) (index.Found, error)
	FindCached(q index.Query) (index.Found, error)
}

// Records reads records of the log. RecordCached does not block.
type Records interface {
	Record(physical int64, dst []byte) ([]byte, error)
	RecordCached(physical int64, dst []byte) ([]byte, error)
}

// Limits of a query by key. The first two: Java MessageStoreConfig.
const (
	maxMsgsNumBatch    = 64       // whatever was asked for
	defaultQueryMaxNum = 32       // of a query for a unique key
	maxAnswer          = 15 << 20 // bytes of records: clients take frames of 16 MiB
	maxTurnAnswer      = 64 << 10 // of those that are read in the turn
)

// uniqueKeyField is the ext field that says that the key is a unique one. Source: Java MixAll.UNIQUE_MSG_QUERY_FLAG.
const uniqueKeyField = "_UNIQUE_KEY_QUERY"

// indexTags is the indexType of a query by tags; K (key), U (unique key) and none are the same to the index.
const indexTags = "T"

// KeysConfig is what Keys is made of; all must be set.
type KeysConfig struct {
	Index Index
	Store Records
	// Offload hands a call to the pool.
	Offload Pool
}

// Keys serves QUERY_MESSAGE.
type Keys struct {
	cfg     KeysConfig
	buffers sync.Pool // *[]byte, for the records of one answer
}

// NewKeys makes a service.
func NewKeys(cfg KeysConfig) *Keys {
	k := &Keys{cfg: cfg}
	k.buffers.New = func() any { b := make([]byte, 0, 8<<10); return &b }
	return k
}

// ByKey serves QUERY_MESSAGE: the records of a topic that have a key, oldest
// first; the newest of them if there are more than are asked for, or than fit into a frame. Fields:
// QueryMessageRequestHeader; lastKey belongs to Java's other index and is not looked at. Records with another key of
// the same hash may be among them: clients look. The answer says how far the index is. None is QUERY_NOT_FOUND.
// It is answered in the turn if the few entries of the index and the few records that it takes are in memory, else by the
// pool.
//
// Java asks its index up to three times while it cannot read a single record of an answer. What the log has dropped
// stays unreadable, and so does what is older, so once is enough.
// Source: Java QueryMessageProcessor.queryMessage, DefaultMessageStore.queryMessage.
func (k *Keys) ByKey(c *protocol.Call) error {
	q, err := asked(c)
	if err != nil {
		return err
	}
	found, err := k.cfg.Index.FindCached(q)
	if err != nil || len(found.Physical) == 0 { // nothing is rare, and sure only when all is built
		k.cfg.Offload(c, k.fromDisk)
		return nil
	}
	buf := k.buffers.Get().(*[]byte)
	defer k.buffers.Put(buf)
	slices.Sort(found.Physical)
	*buf = (*buf)[:0]
	for _, at := range found.Physical {
		if *buf, err = k.cfg.Store.RecordCached(at, *buf); err != nil || len(*buf) > maxTurnAnswer {
			k.cfg.Offload(c, k.fromDisk)
			return nil
		}
	}
	answerFound(c, found.Last, *buf)
	return nil
}

// fromDisk is ByKey on the pool.
func (k *Keys) fromDisk(ctx context.Context, c *protocol.Call) error {
	q, err := asked(c)
	if err != nil {
		return err
	}
	found, err := k.cfg.Index.Find(ctx, q)
	if err != nil {
		return fmt.Errorf("cannot read the index: %w", err)
	}
	body := k.read(found.Physical)
	if len(body) == 0 {
		return protocol.Errorf(protocol.QueryNotFound, "can not find message, maybe time range not correct")
	}
	answerFound(c, found.Last, body)
	return nil
}

// asked is what a request asks the index for.
func asked(c *protocol.Call) (index.Query, error) {
	var h protocol.QueryMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return index.Query{}, err
	}
	limit := h.MaxNum
	unique := isUniqueQuery(c.Fields)
	if unique {
		limit = defaultQueryMaxNum
	}
	return index.Query{
		Topic: h.Topic,
		Key:   h.Key,
		Tags:  h.IndexType == indexTags && !unique,
		Max:   int(min(limit, maxMsgsNumBatch)),
		Begin: h.BeginTimestamp,
		End:   h.EndTimestamp,
	}, nil
}

// answerFound answers with records and how far the index is.
func answerFound(c *protocol.Call, last index.Safe, records []byte) {
	h := protocol.QueryMessageResponse{IndexLastUpdateTimestamp: last.Ms, IndexLastUpdatePhyoffset: last.Physical}
	c.Ticket().Answer(c.Turn, protocol.Success, "", &h, records)
}

// read returns the records that start at these positions, in the order of the log. What is not there any more is left
// out, and so are the oldest if there is too much.
func (k *Keys) read(physical []int64) []byte {
	slices.Sort(physical)
	var records [][]byte
	size := 0
	for _, at := range slices.Backward(physical) {
		rec, err := k.cfg.Store.Record(at, nil)
		if err != nil {
			continue
		}
		if size += len(rec); size > maxAnswer && len(records) > 0 {
			break
		}
		records = append(records, rec)
	}
	slices.Reverse(records)
	return slices.Concat(records...)
}

func isUniqueQuery(fields []protocol.Field) bool {
	for i := range fields {
		if string(fields[i].Key) == uniqueKeyField {
			return strings.EqualFold(string(fields[i].Value), "true")
		}
	}
	return false
}
