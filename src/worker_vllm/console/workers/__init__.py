"""Workers: their starts, their figures, and the points of the plots."""
