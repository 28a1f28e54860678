"""Jobs: parsed (`request`), run on the engine (`run`), and answered (`output`)."""
