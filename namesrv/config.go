package namesrv

import (
	"context"
	"errors"
	"time"

	"rocketd/internal/properties"
	"rocketd/protocol"
	"rocketd/settings"
)

// getConfig answers GET_NAMESRV_CONFIG: every key as "key=value" lines.
func (s *Server) getConfig(context.Context, *protocol.Call) (*reply, error) {
	return &reply{Body: []byte(s.settings.Text())}, nil
}

// updateConfig answers UPDATE_NAMESRV_CONFIG; the body is properties text. NO_PERMISSION for keys that may not be
// changed from outside.
func (s *Server) updateConfig(_ context.Context, c *protocol.Call) (*reply, error) {
	changes, err := properties.Parse(c.Body)
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "string2Properties error")
	}
	err = s.settings.Update(changes, time.Now())
	if errors.Is(err, settings.ErrBanned) {
		return nil, protocol.Errorf(protocol.NoPermission, "Can not update config in black list.")
	}
	s.readOptions()
	s.log.Info("configuration updated", "keys", len(changes), "client", c.Peer.RemoteAddr())
	return nil, err
}

// putKV answers PUT_KV_CONFIG.
func (s *Server) putKV(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.PutKVConfigRequest](c)
	if err != nil {
		return nil, err
	}
	return nil, s.kv.put(h.Namespace, h.Key, h.Value)
}

// getKV answers GET_KV_CONFIG: the value, or QUERY_NOT_FOUND.
func (s *Server) getKV(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.GetKVConfigRequest](c)
	if err != nil {
		return nil, err
	}
	v, ok := s.kv.get(h.Namespace, h.Key)
	if !ok {
		return nil, protocol.Errorf(protocol.QueryNotFound, "No config item, Namespace: %s Key: %s", h.Namespace, h.Key)
	}
	return &reply{Header: &protocol.GetKVConfigResponse{Value: v}}, nil
}

// deleteKV answers DELETE_KV_CONFIG; a key that is not there is deleted, too.
func (s *Server) deleteKV(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.DeleteKVConfigRequest](c)
	if err != nil {
		return nil, err
	}
	return nil, s.kv.delete(h.Namespace, h.Key)
}

// listKV answers GET_KVLIST_BY_NAMESPACE: KVTable, or QUERY_NOT_FOUND.
func (s *Server) listKV(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.GetKVListByNamespaceRequest](c)
	if err != nil {
		return nil, err
	}
	keys := s.kv.namespace(h.Namespace)
	if keys == nil {
		return nil, protocol.Errorf(protocol.QueryNotFound, "No config item, Namespace: %s", h.Namespace)
	}
	return bodyOf(&protocol.KVTable{Table: keys})
}
