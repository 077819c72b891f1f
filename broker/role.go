package broker

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"rocketd/internal/durable"
	"rocketd/internal/properties"
	"rocketd/internal/vfs"
	"rocketd/pull"
	"rocketd/settings"
)

// The values of brokerRole.
const (
	roleSync  = "SYNC_MASTER"
	roleSlave = "SLAVE"
)

// checkRole settles brokerRole and brokerId as Java's start does: a master has id 0 whatever the configuration says, a
// slave one above 0. It refuses the modes in which somebody else decides about the role. Source: Java BrokerStartup.
func checkRole(s *settings.Settings, log *slog.Logger) error {
	for _, mode := range []string{"enableControllerMode", "enableDLegerCommitLog"} {
		if s.Bool(mode) {
			return fmt.Errorf("%s=true: this broker has the role that brokerRole says and cannot be given another one; remove the key", mode)
		}
	}
	id := s.Int64("brokerId")
	if s.String("brokerRole") == roleSlave {
		if id <= 0 {
			return fmt.Errorf("brokerRole=SLAVE brokerId=%d: Slave's brokerId must be > 0", id)
		}
		return nil
	}
	if id != 0 {
		log.Warn("a master has brokerId 0, whatever the configuration says", "brokerId", id)
		s.Set("brokerId", "0")
	}
	return nil
}

// isSlave tells whether this broker copies a master. It stays so until it ends.
func (b *Broker) isSlave() bool { return b.id.id != 0 }

// originFile says whose log a store holds. Java's stores have none in classic mode and get one.
const originFile = "rocketd-identity"

// checkOrigin compares the store with who this broker is: cluster and name. A slave with the store of another set does
// not start: what it holds is no part of its master's log. A master takes the store over, as in Java, under its new name.
func checkOrigin(fs vfs.FS, root string, id identity, log *slog.Logger) error {
	path := filepath.Join(root, originFile)
	var was map[string]string
	_, fallback, err := durable.Read(fs, path, func(data []byte) (err error) {
		was, err = properties.Parse(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot read whose store this is: %w", err)
	}
	if fallback != nil {
		log.Warn("identity of the store taken from its backup", "file", path, "err", fallback)
	}
	cluster, name := was["brokerClusterName"], was["brokerName"]
	if cluster == id.cluster && name == id.name {
		return nil
	}
	switch {
	case len(was) == 0:
	case id.id != 0:
		return fmt.Errorf("store %s belongs to broker %s of cluster %s, this is a slave of %s in %s and does not join: give it an empty store (storePathRootDir), or remove %s if you know better",
			root, name, cluster, id.name, id.cluster, path)
	default:
		log.Warn("the store belonged to a broker with another name and is this one's now", "brokerName", name, "brokerClusterName", cluster)
	}
	return durable.Write(fs, path, []byte(properties.Text(map[string]string{"brokerClusterName": id.cluster, "brokerName": id.name})))
}

// placed keeps for the pull path where this broker stands.
func (b *Broker) placed() {
	s := b.cfg.Settings
	b.place.Store(&pull.Place{
		Slave: b.isSlave() && !b.onDuty.Load(), OffsetCheck: s.Bool("offsetCheckInSlave"),
		SlaveRead: s.Bool("slaveReadEnable"), Far: b.store.HotBytes(),
	})
}
