package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"rocketd/index"
	"rocketd/protocol"
)

// Index finds messages by key.
type Index interface {
	Find(ctx context.Context, q index.Query) (index.Found, error)
}

// Records reads records of the log.
type Records interface {
	Record(physical int64, dst []byte) ([]byte, error)
}

// Limits of a query by key. The first two: Java MessageStoreConfig.
const (
	maxMsgsNumBatch    = 64       // whatever was asked for
	defaultQueryMaxNum = 32       // of a query for a unique key
	maxAnswer          = 15 << 20 // bytes of records: clients take frames of 16 MiB
)

// uniqueKeyField is the ext field that says that the key is a unique one. Source: Java MixAll.UNIQUE_MSG_QUERY_FLAG.
const uniqueKeyField = "_UNIQUE_KEY_QUERY"

// indexTags is the indexType of a query by tags; K (key), U (unique key) and none are the same to the index.
const indexTags = "T"

// Keys serves QUERY_MESSAGE. Both fields must be set.
type Keys struct {
	Index Index
	Store Records
}

// ByKey serves QUERY_MESSAGE, on the pool since it reads the disk: the records of a topic that have a key, oldest
// first; the newest of them if there are more than are asked for, or than fit into a frame. Fields:
// QueryMessageRequestHeader; lastKey belongs to Java's other index and is not looked at. Records with another key of
// the same hash may be among them: clients look. The answer says how far the index is. None is QUERY_NOT_FOUND.
//
// Java asks its index up to three times while it cannot read a single record of an answer. What the log has dropped
// stays unreadable, and so does what is older, so once is enough.
// Source: Java QueryMessageProcessor.queryMessage, DefaultMessageStore.queryMessage.
func (k *Keys) ByKey(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	limit := h.MaxNum
	unique := isUniqueQuery(c.Fields)
	if unique {
		limit = defaultQueryMaxNum
	}
	found, err := k.Index.Find(ctx, index.Query{
		Topic: h.Topic,
		Key:   h.Key,
		Tags:  h.IndexType == indexTags && !unique,
		Max:   int(min(limit, maxMsgsNumBatch)),
		Begin: h.BeginTimestamp,
		End:   h.EndTimestamp,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the index: %w", err)
	}
	body := k.read(found.Physical)
	if len(body) == 0 {
		return nil, nil, protocol.Errorf(protocol.QueryNotFound, "can not find message, maybe time range not correct")
	}
	out := protocol.QueryMessageResponse{IndexLastUpdateTimestamp: found.Last.Ms, IndexLastUpdatePhyoffset: found.Last.Physical}
	return &out, body, nil
}

// read returns the records that start at these positions, in the order of the log. What is not there any more is left
// out, and so are the oldest if there is too much.
func (k *Keys) read(physical []int64) []byte {
	slices.Sort(physical)
	var records [][]byte
	size := 0
	for _, at := range slices.Backward(physical) {
		rec, err := k.Store.Record(at, nil)
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
