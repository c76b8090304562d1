"""AudioSet's sources: its lists, and each video's audio by yt-dlp."""
