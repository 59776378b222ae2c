SELECT ltrim(split_part(version(), ' ', 3), 'v')
