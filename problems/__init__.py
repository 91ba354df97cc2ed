"""Problems: decision problems with simulators, instances, baselines and verifiers."""
