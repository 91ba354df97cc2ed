"""Running untrusted programs: policy, compilation, sealed workers, typed outcomes."""
