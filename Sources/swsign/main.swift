print("swsign")
