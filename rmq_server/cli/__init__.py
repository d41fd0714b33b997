"""The programs: mqnamesrv, mqbroker, mqshutdown, rmq."""
