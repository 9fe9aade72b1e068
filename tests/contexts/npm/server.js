const express = require('express')
const app = express()
app.get('/', (request, response) => response.send(`express on node ${process.versions.node.split('.')[0]}\n`))
app.listen(process.env.PORT, '127.0.0.1')
