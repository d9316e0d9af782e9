"""The instruments: processes, a counting proxy, an open loop, statistics, and the folder that keeps everything."""
