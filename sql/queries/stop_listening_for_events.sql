SELECT taskflow.stop_listening_for_events(%s::uuid)
