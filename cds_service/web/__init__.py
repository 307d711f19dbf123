"""What every door shares: headers, limits, deadlines, problems."""
