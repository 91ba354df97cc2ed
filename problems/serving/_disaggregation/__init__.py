"""What serving/prefill_decode is made of: prefill and decode on instances of their own."""
