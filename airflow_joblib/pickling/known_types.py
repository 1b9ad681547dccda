"""The types that are known not to travel, by dotted name, each with the reason and the way out.

A name that ends in a dot stands for everything under it; the longest match wins.
"""

from __future__ import annotations

__all__ = ["KNOWN", "MADE_BY_LIBRARY", "MAPPED_CLASS", "REFUSED"]

_IMPORT_IT = (
    "Move it into a module beside the DAG file, or into an installed package, and import it from there: then only its "
    "name travels."
)
MADE_BY_LIBRARY = ("what its decorator has made of it holds state of this process, or C code.", _IMPORT_IT)
MAPPED_CLASS = ("a class that SQLAlchemy maps is registered in this process.", _IMPORT_IT)

_CONNECTION = (
    "a database connection or cursor belongs to the process that opened it.",
    "Give every worker its own: name a function that opens it in per_worker={...}, or open it inside the function.",
)
_ENGINE = (
    "a SQLAlchemy engine, connection or session holds connections that belong to this process.",
    "Pass the URL and create the engine or session once in each worker with per_worker={...}.",
)
_ROW = (
    "a row is bound to the cursor it was read with.",
    "Turn rows into tuples or dicts first, as with dict(row).",
)
_FILE = (
    "an open file is a descriptor and a position of this process.",
    "Pass the path and open the file inside the function.",
)
_SOCKET = (
    "a socket or an open connection belongs to the process that opened it.",
    "Pass the address and connect once in each worker with per_worker={...}, or inside the function.",
)
_SSL = (
    "an SSL context lives in the C library of this process.",
    "Create it inside the function, or once in each worker with per_worker={...}.",
)
_LOOP = (
    "an event loop and its tasks live in one thread of this process.",
    "Start a loop inside the function, as with asyncio.run(...).",
)
_LOCK = (
    "a lock guards the threads of one process and can't reach another.",
    'Do without it, as workers share no memory; or create it inside the function, or use backend="threading".',
)
_THREAD = (
    "a thread, and what threads share, lives in one process.",
    "Leave it in the main process and pass plain data, or create it inside the function.",
)
_QUEUE = (
    "a queue holds locks and lives in one process.",
    "Return the results instead: they come back in input order.",
)
_EXECUTOR = (
    "an executor or pool manages workers of its own from this process.",
    "Leave it out: the fan-out runs items in parallel already.",
)
_MULTIPROCESSING = (
    "a multiprocessing object can be inherited by a child process, but not sent to one.",
    "Return results instead of sharing memory, or use a multiprocessing.Manager().",
)
_GENERATOR = (
    "a generator, coroutine or iterator is a paused computation.",
    "Turn it into a list first, or pass what it is made from.",
)
_READER = (
    "a reader, writer or parser holds on to its source.",
    "Pass the path and create it inside the function, or turn what it yields into a list first.",
)
_C_HANDLE = (
    "it holds a handle into a C library, which means nothing in another process.",
    "Pass the path or the plain data, and create it inside the function or with per_worker={...}.",
)
_HTTP = (
    "an HTTP client holds open connections and locks.",
    "Create one in each worker with per_worker={...}, or inside the function.",
)
_CLOUD = (
    "a client of a cloud service holds connections, locks and credentials of this process.",
    "Create one in each worker with per_worker={...}, or inside the function.",
)
_BROKER = (
    "a client of a message broker or remote host holds an open connection.",
    "Create one in each worker with per_worker={...}, or inside the function.",
)
_AIRFLOW = (
    "it belongs to the task process and its supervisor.",
    "Pass the values you need: run_id, ds, params or logical_date as a parameter, or what ti.xcom_pull(...) returns.",
)
_XCOM = (
    "it stands for a result that is not there until the task runs.",
    "Pass it to the task as an argument, so that Airflow fills in the value.",
)
_LAZY_XCOM = (
    "it fetches its values through the task that holds it.",
    "Turn it into a list first, or pass it as the items.",
)
_SPARK = (
    "a Spark session, and what is made from it, lives in the driver.",
    "Create it inside the function, collect the data first, or let Spark do the parallel part.",
)
_HANDLER = (
    "a logging handler holds a lock and its stream.",
    "Use logging.getLogger(__name__) inside the function.",
)
_WEAKREF = (
    "a weak reference points at an object of this process.",
    "Pass the object itself, or plain data; a dict instead of a weak dictionary.",
)
_VIEW = (
    "a memoryview is a window on memory of this process.",
    "Pass bytes(view) or the object under it.",
)
_FRAME = (
    "a frame or traceback holds the state of a running call.",
    "Pass traceback.format_exception(error), or the exception without its traceback.",
)

_TABLE: dict[tuple[str, str], str] = {
    _CONNECTION: """
        sqlite3.Connection sqlite3.Cursor sqlite3.Blob psycopg. psycopg_pool. psycopg2. psycopg2cffi. pg8000. pymysql.
        MySQLdb. _mysql. aiomysql. aiosqlite. aiopg. mysql.connector. oracledb. cx_Oracle. pyodbc. pymssql. _duckdb.
        duckdb. asyncpg. pymongo. motor.core. redis. snowflake.connector. clickhouse_driver. clickhouse_connect.
        cassandra. neo4j. elasticsearch. opensearchpy. couchbase. trino.dbapi. vertica_python. hdbcli. ibm_db.
        adbc_driver_manager. jaydebeapi. fdb.fbcore.
        pyhive. impala.hiveserver2. redshift_connector. databricks.sql. dbm. _dbm. _gdbm.""",
    _ENGINE: """
        sqlalchemy.engine. sqlalchemy.pool. sqlalchemy.orm.session. sqlalchemy.orm.scoping. sqlalchemy.ext.asyncio.
        sqlalchemy.future.engine. flask_sqlalchemy.""",
    _ROW: "sqlite3.Row asyncpg.Record asyncpg.protocol.",
    _FILE: """
        _io.TextIOWrapper _io.FileIO _io.BufferedReader _io.BufferedWriter _io.BufferedRandom _io.BufferedRWPair
        tempfile._TemporaryFileWrapper tempfile.SpooledTemporaryFile codecs.StreamReaderWriter codecs.StreamRecoder
        gzip.GzipFile bz2.BZ2File lzma.LZMAFile zipfile.ZipFile zipfile.ZipExtFile tarfile.TarFile
        tarfile.ExFileObject mmap.mmap shelve.Shelf fsspec.spec.AbstractBufferedFile s3fs.core.S3File
        zipfile.Path fileinput.FileInput""",
    _SOCKET: """
        socket.socket _socket.socket ssl.SSLSocket ssl.SSLObject _ssl._SSLSocket socketserver. http.client. ftplib.FTP
        smtplib.SMTP imaplib.IMAP4 poplib.POP3 telnetlib.Telnet xmlrpc.client.ServerProxy select.epoll select.poll
        select.kqueue selectors. grpc. websockets. websocket.""",
    _LOOP: "asyncio. _asyncio. uvloop.",
    _SSL: "ssl.SSLContext _ssl._SSLContext OpenSSL.SSL.",
    _LOCK: """
        _thread.lock _thread.RLock threading._RLock threading.Condition threading.Semaphore threading.BoundedSemaphore
        threading.Event threading.Barrier asyncio.locks. filelock.""",
    _THREAD: """
        threading.Thread threading.local _thread._local _thread._localdummy _thread._ThreadHandle
        _contextvars.ContextVar _contextvars.Context _contextvars.Token sched.scheduler""",
    _QUEUE: "queue. _queue.SimpleQueue asyncio.queues.",
    _EXECUTOR: """
        concurrent.futures. multiprocessing.pool. joblib.parallel.Parallel joblib.externals.loky. loky.
        subprocess.Popen distributed.client. distributed.client.Client ray.util.multiprocessing.""",
    _MULTIPROCESSING: """
        multiprocessing.synchronize. multiprocessing.queues. multiprocessing.sharedctypes. multiprocessing.process.
        multiprocessing.connection. multiprocessing.context.Process multiprocessing.managers.BaseManager
        _multiprocessing.SemLock""",
    _GENERATOR: """
        generator coroutine async_generator coroutine_wrapper async_generator_asend aiter anext_awaitable
        itertools.tee itertools._tee callable_iterator""",
    _READER: """
        _csv.reader _csv.writer csv.DictReader csv.DictWriter pyexpat.xmlparser posix.ScandirIterator
        xml.etree.ElementTree.XMLPullParser _io._BytesIOBuffer pandas.io.parsers.readers.TextFileReader
        openpyxl.worksheet._read_only. pandas.io.pytables.HDFStore pandas.io.excel._base.ExcelFile
        pandas.io.excel._base.ExcelWriter""",
    _C_HANDLE: """
        PyCapsule SwigPyObject _ctypes._Pointer _ctypes.CFuncPtr _ctypes.Structure _ctypes.Union ctypes.CDLL
        _cffi_backend. h5py. netCDF4. tables.file.File tables.node.Node lxml. cv2. osgeo. gdal. rasterio. fiona.
        pymupdf. pypdfium2.
        zstandard. _hashlib.HASH _hashlib.HMAC hmac.HMAC _blake2. _md5. _sha1. _sha2. _sha3. zlib.Compress
        zlib.Decompress _bz2. _lzma. onnxruntime. tensorrt. tensorflow. llama_cpp. pyaudio. av.container. pycurl.Curl
        Crypto.Cipher. cryptography.hazmat. soundfile. pygit2.""",
    _HTTP: """
        httpx. httpcore. aiohttp. urllib3. requests_futures. niquests. hishel. urllib.request.OpenerDirector
        http.cookiejar.CookieJar""",
    _CLOUD: "boto3. botocore. aiobotocore. s3transfer. google.cloud. google.auth. googleapiclient. azure. openai.",
    _BROKER: "kafka. confluent_kafka. aiokafka. pika. aio_pika. zmq. paramiko. kubernetes.client. docker.",
    _AIRFLOW: """
        airflow.sdk.definitions.dag.DAG airflow.models.dag.DAG airflow.serialization.serialized_objects.SerializedDAG
        airflow.serialization.definitions.dag.SerializedDAG airflow.sdk.bases.operator.BaseOperator
        airflow.models.baseoperator.BaseOperator airflow.sdk.definitions.mappedoperator.MappedOperator
        airflow.models.mappedoperator.MappedOperator airflow.sdk.definitions._internal.abstractoperator.AbstractOperator
        airflow.sdk.definitions._internal.node.DAGNode airflow.sdk.definitions.taskgroup.TaskGroup
        airflow.sdk.execution_time.task_runner.RuntimeTaskInstance airflow.models.taskinstance.TaskInstance
        airflow.models.dagrun.DagRun airflow.sdk.execution_time.supervisor. airflow.sdk.execution_time.context.
        airflow.sdk.execution_time.comms.CommsDecoder airflow.sdk.execution_time.context.OutletEventAccessor
        airflow.sdk.execution_time.context.OutletEventAccessors""",
    _XCOM: "airflow.sdk.definitions.xcom_arg.XComArg airflow.models.xcom_arg.XComArg",
    _LAZY_XCOM: "airflow.sdk.execution_time.lazy_sequence.LazyXComSequence",
    _SPARK: """
        pyspark.sql.session.SparkSession pyspark.sql.connect.session.SparkSession pyspark.context.SparkContext
        pyspark.core.context.SparkContext pyspark.sql.context.SQLContext pyspark.rdd.RDD pyspark.core.rdd.RDD
        pyspark.sql.dataframe.DataFrame pyspark.sql.classic.dataframe.DataFrame pyspark.sql.connect.dataframe.DataFrame
        py4j.""",
    _HANDLER: "logging.Handler",
    _WEAKREF: """
        weakref.ReferenceType weakref.ProxyType weakref.CallableProxyType weakref.ref weakref.WeakMethod
        weakref.finalize weakref.KeyedRef weakref.WeakValueDictionary weakref.WeakKeyDictionary weakref.WeakSet
        ReferenceType weakproxy weakcallableproxy""",
    _VIEW: "memoryview _pickle.PickleBuffer pickle.PickleBuffer",
    _FRAME: "frame traceback",
    MADE_BY_LIBRARY: """
        wrapt. _wrappers. FunctionWrapper BoundFunctionWrapper pydantic._internal._validate_call.ValidateCallWrapper""",
}

#: Known when they fail, but made to be pickled where they can be.
_MAY_TRAVEL = {"fsspec.spec.AbstractBufferedFile", "s3fs.core.S3File", "shelve.Shelf", "zipfile.Path"}

#: Dotted name, or package with a dot at its end, to reason and advice.
KNOWN = {name: sentences for sentences, names in _TABLE.items() for name in names.split()}

#: Dotted names of the types that cloudpickle would send, or may in some release, but that must not travel.
REFUSED = frozenset(
    name
    for sentences in (_FILE, _AIRFLOW, _XCOM, _LAZY_XCOM, _SPARK)
    for name in _TABLE[sentences].split()
    if not name.endswith(".") and name not in _MAY_TRAVEL
)
