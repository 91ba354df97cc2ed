"""The parts of serving/kv_offloading."""
