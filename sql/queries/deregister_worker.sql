SELECT taskflow.deregister_worker(%s::bigint)
