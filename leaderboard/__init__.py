"""The leaderboard: results on disk -> what people see."""
