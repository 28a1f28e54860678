"""What a job yields: framed, batched, limited, and its errors in the form of its route."""
