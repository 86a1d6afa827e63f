// Stand-in for ucode's module of the bus: what netifd and procd would answer fw4, from files.
const fs = require("fs");

return {
	connect: () => ({
		call: (object, method) => json(fs.readfile(`/packages/${object}.json`)),
		disconnect: () => null
	}),
	error: () => null
};
