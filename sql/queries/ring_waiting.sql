SELECT taskflow.ring_waiting(%s::text[])
